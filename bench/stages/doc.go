// Package stages measures every stage of a row's journey, from the packet to the answer, one benchmark each, so that the
// price of a row can be added up and compared from commit to commit.
//
// bench/stages.sh runs them all; bench/stages/report makes the table bench/results/stages.md of their output.
package stages

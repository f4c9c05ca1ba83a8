// Package workload is what the comparison measures: the rows of each workload, the questions asked, and how Flowlake is put
// to them, one phase at a time, in a process of its own.
package workload

// Package plan turns syntax trees into operator trees: it resolves names and types, folds constants, pushes conditions
// down to storage and drops what is not needed. The entry is Planner.Query.
package plan

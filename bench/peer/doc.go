// Package peer puts other systems to the workloads of the comparison: it writes the rows as files that they read, makes their
// tables with the settings their makers recommend, and runs them in a Python process of their own.
package peer

// Package wal is the durable log of the engine: records numbered from 1 in preallocated segment files, group commit with
// one write and one fdatasync, and recovery that tells a torn tail from damage. docs/format/wal.md has every byte.
//
// A Log is made to be wrapped as the log store of hashicorp/raft; nothing here imports it.
package wal

//go:build !linux

package oplog

import "github.com/cockroachdb/pebble/v2/vfs"

// dropCached does nothing: elsewhere the system is left to decide.
func dropCached(vfs.File, int64, int64) {}

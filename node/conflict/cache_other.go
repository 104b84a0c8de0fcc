//go:build !linux

package conflict

import "github.com/cockroachdb/pebble/v2/vfs"

// dropCached does nothing where x/sys has no call for it.
func dropCached(vfs.File) {}

package index

import (
	"slices"
	"strings"

	"wolfdisk/volume"
)

// deepest bounds how far up a path is followed: names that change meanwhile may lead in a circle.
const deepest = 1 << 16

// PathOf is a path of an inode from the root, without a slash before it, by names, which is that of an
// Engine or a Snapshot; empty for the root. It is for people: of several names it takes the
// first, and what does not lead to the root stands in it as an inode. ok is false if the inode itself has
// no name.
func PathOf(names func(volume.Ino) ([]volume.NameRef, error), ino volume.Ino) (path string, ok bool) {
	var list []string
	at := ino
	for range deepest {
		if at == volume.RootIno {
			break
		}
		refs, err := names(at)
		if err != nil || len(refs) == 0 {
			if at == ino {
				return "", false
			}
			list = append(list, "inode "+at.String())
			break
		}
		list = append(list, refs[0].Name)
		at = refs[0].Parent
	}
	slices.Reverse(list)
	return strings.Join(list, "/"), true
}

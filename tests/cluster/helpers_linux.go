package cluster

import (
	"fmt"
	"maps"
	"os"

	"wolfdisk/tests/tree"
)

// Helpers are those of this package together with the program's own.
func Helpers(own map[string]Helper) map[string]Helper {
	all := map[string]Helper{
		"treehash":    treeHash,
		"tokens":      writeTokens,
		"checktokens": checkTokens,
	}
	maps.Copy(all, own)
	return all
}

func treeHash(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one directory, got %q", args)
	}
	return tree.Write(os.Stdout, args[0])
}

//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: there is no FUSE driver for this system yet")
	os.Exit(69)
}

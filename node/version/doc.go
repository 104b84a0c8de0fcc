// Package version says which build this is: from the linker's -X flag where the
// build sets it, otherwise from what the Go tool recorded in the binary.
package version

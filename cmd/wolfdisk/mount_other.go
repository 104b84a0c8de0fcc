//go:build !linux

package main

import "errors"

// forbidExec makes a mount noexec.
func forbidExec(string) error { return errors.New("noexec is not supported on this system") }

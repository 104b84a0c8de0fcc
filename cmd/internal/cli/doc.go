// Package cli is what the command-line tools have in common: usage errors that end
// with the right code, and text that is safe to show in a terminal.
package cli

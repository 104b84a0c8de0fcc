// Package arch holds the rules of the tree as tests: which package may import which,
// that every package says what it is for, and that no file knows the machine it was
// written on. It has no code of its own.
package arch

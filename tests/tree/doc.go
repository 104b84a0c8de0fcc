// Package tree describes a directory tree in text, one line per name, with
// everything that makes two trees of a volume equal (DESIGN.md, section 1), and
// compares two such descriptions.
//
// A line is the quoted path, then tab-separated fields "name=value": type, ino,
// mode, uid, gid, rdev, nlink, size, mtime, ctime, target, xattrs, sha256. Fields
// that do not apply to a type are absent. Lines are sorted by path, so two
// descriptions can also be compared with diff(1).
//
// Access times, block counts and the sizes of directories are left out: they are
// no part of what nodes agree on. The walk also checks that the inode number and
// type a directory lists are those that stat(2) gives.
//
// Walk is meant to run in a child process: whoever opens a file of a mount can be
// stuck for as long as the daemon below it is, and a test must stay able to say so.
package tree

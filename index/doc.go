// Package index is the metadata engine of every node: the one authority for names and
// attributes, for where content lies, for the lineage and the members. It decides
// requests into ops, and enters ops.
//
// # Deciding and entering
//
// [Engine.Decide] turns a request into ops from the present state and changes nothing;
// the caller holds the locks of the objects that [Engine.Objects] names, from before
// deciding until the op is entered. [Engine.Enter] makes ops part of the state, in
// version order, without gaps. It derives whatever an op does not say by the rules of
// package volume, so every node that enters the same ops has the same state. An op
// that does not fit is WrongHistory and changes nothing.
//
// # Store
//
// One pebble store, without a log of its own: the oplog is its write-ahead log. Each
// batch carries the position it leads to, so what a crash leaves is the state after
// some op, and entering goes on from there. Pebble flushes a memtable by itself when
// it is full; an index must never be ahead of the durable log, so Enter counts what it
// writes and, well before that point, has the log synced and flushes (flush.go).
//
// # Keys
//
// Numbers are big-endian, so that order is numeric order.
//
//	m                       position, counters, inode allocation (meta)
//	i ino                   inode record
//	d dir name              entry: inode, type, cookie
//	c dir cookie            entry in listing order: inode, type, name
//	n ino dir name          a name of the inode
//	o ino                   an inode that lives without a name
//	q ino                   an inode that has ended but is still open on this node
//	t ino                   target of a symbolic link
//	x ino name              extended attribute
//	e ino offset            extent: length and place of content (only with Options.Extents)
//	l version               reign that began at this version
//	p id                    member
//	a client number         answer to a forwarded request; the client's answers count up
//	b client request        the number of the answer to it
//	w ino, h key            what the content backing remembers (node-local), and the way back
//	s                       how far a copy that is being made has its content (node-local)
//
// All but e, q, s, w and h are the same on every node at the same version.
//
// # Invariants
//
//   - Extents of a file do not overlap and do not reach beyond its size.
//   - nlink of a directory is 2 + subdirectories, or 0 once it has no name.
//   - A client's answers count up without gaps, in the order of their ops, and depend on
//     nothing but the ops: answers.go.
//   - An inode record exists exactly as long as the inode has names, lives without one (o) or
//     is waited for (q).
//
// # Locks
//
// enterMu serialises Enter, Flush and records put from outside; it is held over the
// batch commit and, rarely, over one sync of the log. cache shards have their own
// locks, taken last. Readers take no lock but the shards'.
package index

// Package fusefs mounts a volume: requests of the kernel become calls of a
// [volume.Volume], and what changes otherwise is invalidated in the kernel's caches.
// It knows no roles, no paths of the data, and never touches its own mount.
//
// # Parts
//
//   - core (core.go, ops_*.go) answers requests. It knows no FUSE library and no
//     layout of messages: arguments in, one method, an errno out.
//   - dispatch.go and wire.go translate between the kernel's messages and the core.
//   - A driver mounts, reads requests and writes replies. bazil (Linux) mounts and
//     negotiates through bazil.org/fuse and owns the device from then on; why, is in
//     docs/decisions/0002-fuse-driver.md. gofuse (Linux, FreeBSD) leaves reading,
//     decoding and encoding to hanwen/go-fuse (gofuse*.go, instead of dispatch.go and
//     wire.go); docs/decisions/0019-second-driver.md. Every test that mounts runs over
//     each (TestGofuse). Elsewhere Mount says Unsupported.
//   - nodes.go counts what the kernel knows, observe.go and origin.go judge ops,
//     notify.go tells the kernel.
//
// # Caching
//
// The kernel keeps names (also those that do not exist), attributes, listings, link
// targets and pages for ever. It keeps its caches right for what it asked for itself.
// Everything else comes through [Server.Observer]: state first, then the notice.
//
//   - On a follower the kernel is told before the ops are applied, and again after
//     (early.go), so that nobody who reads something new then reads something older from the
//     cache. It is not airtight: what is asked for between the two, or held by the kernel for
//     longer than some milliseconds, is right only after the second notice. A follower
//     reports ops as applied when that has been sent (unseen.go).
//   - An op that came through this very mount is not invalidated: origin.go.
//   - Only what the kernel was told of is invalidated. A lookup is counted before its
//     reply is written; an op observed between reading the attributes and counting
//     makes the lookup read them again (core.countFresh).
//   - A reply that is still on its way when the notice arrives: names and listings are
//     safe, since the kernel takes the directory's lock for INVAL_ENTRY, which the
//     requester holds until it has taken the reply in; a listing is invalidated after
//     a name in it for that reason. An inode that the kernel does not know although it
//     was told (ENOENT with a positive count) is tried again. Attributes of GETATTR,
//     LOOKUP and READDIRPLUS carry a version inside the kernel; those of SETATTR and LINK
//     do not, so their notices are sent a second time.
//   - An inode that ends between its lookup and its opening is looked up again by the kernel,
//     once. What it finds then is kept open for a moment, so that no path answers ESTALE
//     however often its file is replaced (repeat.go).
//   - What the kernel does not do for its own requests is added by the handlers:
//     pages beside which a direct write went (core.writeFile), setuid bits lost by a write,
//     appends that went elsewhere than it thought, ".." in listings of directories that moved. The
//     order of a direct append's pieces is kept here too (appends.go).
//
// # Permissions
//
// The kernel checks them (default_permissions, POSIX ACLs); the volume decides owner,
// mode and ACL of what is made, from umask and mode as the application gave them.
// The process's own umask does not matter here. Locks stay in the kernel.
//
// # Goroutines
//
//   - Readers (bazil.reader): each reads a request and answers it itself. One at rest and
//     for one client, up to maxReaders while requests take long (bazil_readers_linux.go). What may
//     wait for other nodes leaves some of them free (bazil_parked_linux.go).
//     They end when the kernel says ENODEV. A reader in read(2) holds a P of the runtime until
//     sysmon takes it back, so GOMAXPROCS should be some more than there are CPUs.
//   - The watch (bazil.watch) looks every few milliseconds, while there are requests, whether
//     no reader waits and those there are do not get on, and starts another.
//   - One notifier worker; another for each notice that sleeps in the kernel for long,
//     up to maxWorkers. Ended by notifier.close.
//   - One that closes what the kernel has forgotten, while there is something (keptCloser).
//   - Server.finish waits for the readers' end and cleans up.
//   - For each request whose caller got a signal, one that looks whether the signal
//     kills (bazil.interrupted), until the request is answered.
//   - With gofuse the library's readers take the place of the first, and a timer, armed
//     while there are requests, that of the last (gofuse.sweep). gofuse.serve waits for
//     them and for the requests in progress.
//
// # Locks
//
// All are leaf locks: none is held while another is taken, a volume is called, or the
// kernel is written to. But gofuse.gate and bazil.notices are held for reading for as long
// as a request, or a notice, takes, and for writing only when the mount has ended.
//
// # Invariants
//
//   - Node ID = inode ID = st_ino = d_ino; generation 0; the root is 1.
//   - A request gets one reply, of exactly the length its header says; an errno has no
//     body. FORGET and INTERRUPT get none.
//   - ENOSYS is answered only to what is never supported: the kernel remembers it.
//   - Opens of an inode that the volume was told of are closed, at the latest when the
//     mount ends.
package fusefs

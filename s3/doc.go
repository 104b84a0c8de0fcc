// Package s3 is the S3 gateway: requests of the S3 protocol become calls of a
// [volume.Volume]. A bucket is a directory at the root, an object a file, the parts of a
// key before its last slash are directories. It knows no roles: on a follower reads are
// answered, and what would change something is ServiceUnavailable, unless whoever owns
// the node forwards it (Config.Elsewhere).
//
// # Parts
//
//   - server.go, limits.go, stall.go, cors.go: connections, limits, what every request has.
//   - call.go, route.go: from host, path and query to one operation. A subresource
//     that is not known, or a header whose meaning would be lost, is NotImplemented,
//     never something else. A parameter of a URL that stands for a header is one.
//   - names.go, object.go: keys to inodes. condition.go: conditions.
//   - put.go, stage.go, publish.go, get.go, delete.go, copy.go, tagging.go, attributes.go,
//     bucket.go, mapped.go, acl.go: the operations.
//   - walk.go, list.go, listxml.go: listing.
//   - upload.go, part.go, complete.go, listparts.go, partsums.go, janitor.go: uploads in
//     parts; upload.go has their format.
//   - meta.go, headers.go, checksum.go: metadata and its format, sums.
//
// Package sig, below, says who made a request and verifies its body.
//
// # Metadata
//
// What is known of an object beyond its attributes lies in one attribute of ours,
// volume.XattrObject (meta.go). So it is replicated with the op that publishes the object
// and survives failover; nobody at a mount sees or forges it; and it is not in the lower
// file, whose file system would take 4 KiB. Every op that changes the file's content
// removes it, on every node alike, so it is never of another content: the ETag of a file
// that the mount wrote is made of inode and version instead, with a '-' in it, so that no
// client takes it for an MD5.
//
// On directories the attribute tells such as were put ("name/", an object of its own)
// from such as the gateway made for an object below them. The latter are removed with
// the last object; a directory that a user made stays.
//
// # Putting
//
// A body goes into a nameless inode, by ops like any other, 1 MiB at a time, and is
// summed up and verified on the way. Then one op publishes it: the name, the metadata,
// and the condition that it was put under. So there is no moment at which the object is
// there in part, to anybody, on any node; and a daemon that is killed leaves a nameless
// inode that the next epoch ends. A 200 is sent when that op and all before it are
// durable as the volume's mode demands.
//
// A condition is looked at first against what has the name, and the publish then says
// that it must be that very version of it (or nothing); if the volume says it is not,
// all is looked at again. So exactly one of many writers wins. DELETE, tagging and the
// removal of directories work the same way.
//
// # Getting
//
// The inode is opened, so that it stays while it is sent, whatever happens to its name; if
// it was replaced before that, the name is looked at again.
// After every block, before the block is sent, the inode's version is looked at: content
// that a mount changed in place meanwhile cuts the connection.
//
// # Listing
//
// walk.go walks directories by name (volume.NameReader) and in the order of keys, from
// any key on. A token says where the last page ended, and nothing else, so it is good on
// every node and after every restart.
//
// # Uploads in parts
//
// Nameless inodes that volume.XattrKeep keeps alive; see upload.go.
//
// # Invariants
//
//   - Nothing that a client sends is held in memory beyond two blocks, a document of
//     bounded length, and headers of bounded length.
//   - No path of a host is ever touched, and no symbolic link followed: keys are followed
//     through the volume's directories.
//   - A change is asked of the volume with the condition under which it is right.
//
// # Goroutines
//
// New starts the janitor, which Close ends and waits for; net/http one per connection;
// slowly one that works while the handler keeps the client patient; pour one per large
// block, that sums it up while it is written, and waits for it.
//
// # Locks
//
// uploads.mu and pacedBody.mu are leaves. Of an activity, hold comes before mu; both are held over
// calls of the volume, which takes none of ours.
package s3

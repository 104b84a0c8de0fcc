// Command gosdk drives an S3 gateway with version 2 of the AWS SDK for Go: bodies that
// can be read again and such that cannot, uploads in parts, URLs, and the checksums that
// the SDK sends and verifies by itself.
//
//	gosdk ENDPOINT BYTES...
//
// It moves an object of each size. It is a module of its own, so that WolfDisk's does not
// need the SDK.
package main

// Package s3 proves the S3 gateway over real volumes: a leader over chunks, and one over
// a directory, through changes of the leader; and with the programs and libraries that
// people use, as far as they are installed.
package s3

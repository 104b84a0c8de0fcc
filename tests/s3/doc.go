// Package s3 proves the S3 gateway over real volumes: a leader over chunks, and one over
// a directory, through changes of the leader; and with the programs and libraries that
// people use, as far as they are installed.
//
// `make s3-clients` installs them into dist/s3-clients (install.sh), where the tests find
// them, or in the folder that WDTEST_S3_CLIENTS names, or in the path. What is missing is
// skipped, and the test says so. gosdk, a module of its own, and js are programs that drive
// SDKs. versitygw's tests are run one by one, by the names of testdata/versitygw.txt;
// WDTEST_VERSITYGW may name the program.
//
// The long form, without -short, moves an object of 5 GiB and a tree of 20,000 files, lists
// a million keys, and watches the memory while 2 GiB go through.
package s3

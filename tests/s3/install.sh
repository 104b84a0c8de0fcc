#!/bin/sh
# Installs the programs and libraries that tests/s3 drives, as far as they are missing:
# Debian's packages when it may, all others below a folder, where the tests find them.
#
#   tests/s3/install.sh FOLDER
set -eu
here=$(dirname "$0")
folder=$1
mkdir -p "$folder/bin" "$folder/js"
folder=$(cd "$folder" && pwd)

"$here"/../need.sh curl awscli python3-boto3 s3cmd rclone restic nodejs npm

# program NAME MODULE@VERSION
program() {
	test -x "$folder/bin/$1" || GOFLAGS='' GOBIN="$folder/bin" go install "$2"
}
program mc github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9
program versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0
(cd "$here/gosdk" && GOFLAGS='' go build -o "$folder/bin/gosdk" .)

cp "$here"/js/all.mjs "$here"/js/package.json "$folder/js/"
test -d "$folder/js/node_modules/minio" || npm install --prefix "$folder/js" --no-audit --no-fund --silent

#!/bin/sh
# Runs every fuzz target of the module for a time each.
#
#   tests/fuzz.sh [TIME]      default 30s
set -eu
fuzztime=${1:-30s}
found=0
for package in $(go list ./...); do
	targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		found=$((found + 1))
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package"
	done
done
test $found -gt 0 || { echo "There is no fuzz target." >&2; exit 1; }
echo "$found fuzz targets, $fuzztime each: no failure"

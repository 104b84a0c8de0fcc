#!/bin/sh
# gofmt and go vet over the whole module, for this system and for FreeBSD.
set -eu
# shellcheck disable=SC2046 # one word each
unformatted=$(gofmt -l $(git ls-files '*.go' 2>/dev/null || find . -name '*.go' -not -path './.git/*'))
if test -n "$unformatted"; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi
go vet ./...

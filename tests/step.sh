#!/bin/sh
# Runs one step of a longer run with its title, its time and its result.
#
#   tests/step.sh TITLE COMMAND [ARGUMENT...]
title=$1
shift
printf '== %s\n' "$title"
began=$(date +%s)
"$@"
code=$?
took=$(($(date +%s) - began))
if test $code = 0; then
	printf '== %s: ok, %d s\n' "$title" $took
else
	printf '== %s: FAILED with %d after %d s\n' "$title" $code $took
fi
exit $code

#!/bin/sh
# start.sh COMMAND [ARGUMENT...]
#
# Runs patrol beside a Databricks App's own command, and the command signed in by
# it. The command takes this script's place, so signals and its exit code are the
# platform's and its own.
set -eu

if [ $# -eq 0 ]; then
	echo "start.sh: no command is given; for example: sh start.sh python app.py" >&2
	exit 64
fi

# The app's files may have lost their modes on the way, and may not be larger than
# 10 MB: patrol comes as patrol.gz and is unpacked.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
patrol=patrol
if [ -f "$here/patrol.gz" ]; then
	bin=$(mktemp -d "${TMPDIR:-/tmp}/patrol-bin.XXXXXX")
	patrol=$bin/patrol
	gzip -dc "$here/patrol.gz" >"$patrol"
	chmod 700 "$patrol"
fi

# Nobody else restarts patrol here. 0: it was told to stop. 64: only you can mend
# what is wrong, and the log says what.
(
	while :; do
		code=0
		"$patrol" serve || code=$?
		case $code in 0 | 64) exit "$code" ;; esac
		echo "start.sh: patrol ended with code $code; starting it again" >&2
		sleep 2
	done
) &

exec "$patrol" exec --wait-ready "${PATROL_START_WAIT:-60s}" -- "$@"

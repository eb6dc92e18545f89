#!/usr/bin/env bash
# Perago in a minute: a workflow of three tasks on real data, run twice, a task that fails a guard, and the history.
# Usage: examples/quickstart.sh [DIRECTORY]   (default: quickstart; recreated each time)
set -euo pipefail

directory=${1:-quickstart}
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$examples${PYTHONPATH:+:$PYTHONPATH}"

explain() {
  echo
  printf '# %s\n' "$@"
}

# Print a command as it would be typed, and run it.
run() {
  local word shown='$'
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=,-]*) shown+=" '$word'" ;;
      *) shown+=" $word" ;;
    esac
  done
  echo "$shown"
  "$@"
}

if [ -e "$directory" ] && [ ! -d "$directory/penguins.git" ]; then
  echo "$directory exists and was not made by this script. Name another directory." >&2
  exit 2
fi
explain "The tasks are Python modules in $examples/penguins. PYTHONPATH includes their directory."
rm -rf "$directory"
mkdir -p "$directory"
cd "$directory"

explain "Put the raw field notes into a new repository. It is a plain git repository."
run perago import "$examples/data" --repo penguins.git --branch main

explain "Run a workflow: clean the notes, then summarise and classify side by side. Each task works in a private directory;" \
  "its changes become one commit on the branch, which the next task gets. Classify is read-only and makes none."
run perago run penguins.pipeline --params '{"neighbours": 7}' --repo penguins.git --branch main

explain "Run it again with another number of neighbours. Nothing that clean and summarise depend on has changed: their results" \
  "are taken from the commits of the first run, and their bodies do not run. Classify does."
run perago run penguins.pipeline --params '{"neighbours": 3}' --repo penguins.git --branch main

explain "Run one task by itself: clean, but keep only birds of an island that does not exist. The task writes no table, a guard fails," \
  "and nothing is published: the branch stays unchanged."
if run perago run penguins.clean --params '{"islands": ["Atlantis"]}' --repo penguins.git --branch main; then
  echo "This should have failed." >&2
  exit 1
fi

explain "Show who published what, from which commit, with which result:"
run perago log --repo penguins.git --branch main

explain "Copy the files of the branch to a directory:"
run perago export tables --repo penguins.git --branch main
run cut -d, -f1-4 tables/reports/summary.csv

cat <<EOF

Done. Look at
  $directory/tables/                       the published files
  git -C $directory/penguins.git show      the last publication, as git sees it
  perago ui --repo $directory/penguins.git  all of it in your browser; it needs the extra: pip install '.[ui]'
  examples/penguins/clean.py               the first task: one function
  examples/penguins/pipeline.py            the workflow
  README.md                                a pipeline in one file, and what is promised
EOF

#!/usr/bin/env bash
# The point in a minute: three tasks on real data, one that is refused, and the history that they leave.
# Usage: examples/quickstart.sh [DIRECTORY]   (default: quickstart; made anew each time)
set -euo pipefail

directory=${1:-quickstart}
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$examples${PYTHONPATH:+:$PYTHONPATH}"

explain() {
  echo
  printf '# %s\n' "$@"
}

# Shows a command as it would be typed, and runs it.
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
  echo "$directory is there already, and is not what this script made. Name another directory." >&2
  exit 2
fi
explain "The tasks are Python modules in $examples/penguins, which PYTHONPATH names."
rm -rf "$directory"
mkdir -p "$directory"
cd "$directory"

explain "Put the raw field notes into a new repository: this is a plain git repository."
run perago import "$examples/data" --repo penguins.git --branch main

explain "Clean them. The task works in a directory of its own; what it changed becomes one commit of the branch."
run perago run penguins.clean --repo penguins.git --branch main

explain "Summarise what the first task published. It sees the commit that it was given, and nothing else."
run perago run penguins.summarise --params '{"by_sex": true}' --repo penguins.git --branch main

explain "Classify: a read-only task. It completes with the commit that it read."
run perago run penguins.classify --params '{"neighbours": 7}' --repo penguins.git --branch main

explain "Clean again, but only birds of an island that is not there. No table comes out, a guard says so," \
  "and nothing is published: the branch stays whole."
if run perago run penguins.clean --params '{"islands": ["Atlantis"]}' --repo penguins.git --branch main; then
  echo "This should have failed." >&2
  exit 1
fi

explain "Who published what, from what, with what result:"
run perago log --repo penguins.git --branch main

explain "The files as the branch has them now:"
run perago export tables --repo penguins.git --branch main
run cut -d, -f1-4 tables/reports/summary.csv

cat <<EOF

Done. Look at
  $directory/tables/                       the published files
  git -C $directory/penguins.git show      the last publication, as git sees it
  examples/penguins/clean.py               the first task: one function
  README.md                                what happened here, and a first task of your own
EOF

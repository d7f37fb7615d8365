# shellcheck shell=bash
# Shared by the lint scripts.
KM_SOURCE_DIR=${KM_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$KM_SOURCE_DIR" || exit 1
findings=0

finding() {
  printf '%s\n' "$*"
  findings=$((findings + 1))
}

finish() {
  [ "$findings" = 0 ] || printf '%s: %d findings\n' "$(basename "$0")" "$findings"
  [ "$findings" = 0 ]
}

# What is, or is about to be, in the repository; without git, what is not a build result.
tree_files() {
  if [ "$(git rev-parse --show-toplevel 2> /dev/null)" = "$KM_SOURCE_DIR" ]; then
    git ls-files --cached --others --exclude-standard | while read -r file; do
      [ ! -f "$file" ] || printf '%s\n' "$file"
    done
  else
    find . \( -name .git -o -path ./build -o -name node_modules -o -name target \) -prune \
      -o -type f -print | sed 's|^\./||'
  fi | sort
}

own_c_files() { tree_files | grep -E '\.(c|h)$'; }

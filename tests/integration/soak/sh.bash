#!/bin/bash
# In the place of sh on a machine under test: runs a script as sh would, and kills it, with every process of it, as
# `kill -9` or a lost machine would, after the N-th command that can change the machine. N is in /run/fault/at, which
# goes with the kill; without that file, and for scripts that change nothing, this is just sh.
#
#   sh -c SCRIPT [NAME ARGUMENT...]    what fab sends; counted from the machine's lock on, until it only looks again
#   sh FILE ARGUMENT...                a script that a unit starts; where fab's own starts it, it is counted there, too
#
# /run/fault/count holds how many commands there were, how many of them can change something, whether the last can.
fault_dir=/run/fault
fault_script=''
[ ! -r $fault_dir/at ] || case $1 in
  -c) case $2 in *'exec 9>>/run/containerd-devmapper.lock'*) fault_script=$2 && shift 2 ;; esac ;;
  *) fault_script=$(cat "$1") && shift ;;
esac
[ -n "$fault_script" ] || exec /bin/sh "$@"

shopt -s extglob
read -r fault_at <$fault_dir/at
fault_before() {
  local all changing last
  # The two ends of a pipe count at once: one may find the file that the other is about to write.
  until read -r all changing last <$fault_dir/count; do :; done
  if [ "$last" = yes ] && [ "$changing" -eq "$fault_at" ]; then
    echo "after $changing, before: ${BASH_COMMAND%%$'\n'*}" >>$fault_dir/killed
    rm $fault_dir/at
    kill -KILL 0
  fi
  # After one of these all is as it was before it: what is substituted in them is counted by itself.
  last=yes
  case $BASH_COMMAND in
    *'>'* | [a-zA-Z_]*([a-zA-Z0-9_])=*([^ \'\"\$\`])' '*) ;;
    '[ '* | : | 'case '* | 'for '* | 'set '* | 'shift'* | 'trap '* | 'umask '* | 'read '* | 'local '* | 'export '*) last=no ;;
    'awk '* | 'cat '* | 'cmp '* | 'cut '* | 'findmnt '* | 'grep '* | 'head '* | 'lsblk '* | 'od '* | 'sort '* | 'tr '*) last=no ;;
    'echo '* | 'printf '* | 'exit'* | 'return'* | 'command -v '* | 'eval '* | [a-zA-Z_]*([a-zA-Z0-9_])=*) last=no ;;
  esac
  ! declare -F "${BASH_COMMAND%% *}" >/dev/null 2>&1 || last=no
  [ "$last" = no ] || changing=$((changing + 1))
  echo "$((all + 1)) $changing $last" >$fault_dir/count
  # From here on it only looks.
  [ "$BASH_SUBSHELL $BASH_COMMAND" != '0 set +e' ] || trap - DEBUG
}
fault_inner=/usr/local/libexec/devmapper-pool
for fault_word in $'\n' 'then '; do
  fault_script=${fault_script//"$fault_word$fault_inner "/"$fault_word$0 $fault_inner "}
done
set -o posix -o functrace
trap fault_before DEBUG
eval "$fault_script"

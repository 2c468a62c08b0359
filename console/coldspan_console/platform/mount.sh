#!/usr/bin/env bash
# mount.sh OPT TASK RUNTIME STAGE COMMAND...
# Runs inside a private mount namespace. Binds the three folders read-only where Lambda has them. Where /var lacks the two
# mount points, /var becomes a small tmpfs with everything that was in it bound back: nothing is made on the host.
set -e
opt=$1 task=$2 runtime=$3 stage=$4
shift 4
if [ ! -d /var/task ] || [ ! -d /var/runtime ]; then
  mount --rbind /var "$stage"
  cd "$stage"
  mount -t tmpfs -o mode=755 tmpfs /var
  for entry in * .[!.]*; do
    if [ -L "$entry" ]; then
      cp -P "$entry" /var/
    elif [ -d "$entry" ]; then
      mkdir "/var/$entry"
      mount --rbind "$entry" "/var/$entry"
    elif [ -e "$entry" ]; then
      : > "/var/$entry"
      mount --bind "$entry" "/var/$entry"
    fi
  done
  mkdir -p /var/task /var/runtime
fi
bind() {
  mount --bind "$1" "$2"
  mount -o remount,bind,ro "$2"
}
bind "$opt" /opt
bind "$task" /var/task
bind "$runtime" /var/runtime
cd /var/task
unset OLDPWD
exec "$@"

#!/usr/bin/env bash
# mount.sh OPT TASK RUNTIME STAGE COMMAND...
# Runs inside a private mount namespace. Binds the three folders read-only where Lambda has them. Where /var lacks the two
# mount points nothing is made on the host: /var becomes an overlay of itself that has them (read-only but for /var/tmp), or,
# where overlays are not allowed, a small tmpfs with everything that was in it bound back. STAGE is an empty folder for that.
set -e
opt=$1 task=$2 runtime=$3 stage=$4
shift 4

overlay() {
  mkdir "$stage/points" "$stage/points/task" "$stage/points/runtime" "$stage/tmp"
  mount --bind /var/tmp "$stage/tmp"
  cd "$stage/tmp"
  mount -t overlay overlay -o "lowerdir=$stage/points:/var" /var 2> /dev/null || return 1
  mount --no-canonicalize --bind . /var/tmp # by its descriptor: the stage itself may be below /var
}

rebuild() {
  mkdir "$stage/var"
  mount --rbind /var "$stage/var"
  cd "$stage/var"
  mount -t tmpfs -o mode=755 tmpfs /var
  for entry in * .[!.]*; do
    if [ -L "$entry" ]; then
      cp -P "$entry" /var/
    elif [ -d "$entry" ]; then
      mkdir "/var/$entry"
      mount --no-canonicalize --rbind "$entry" "/var/$entry"
    elif [ -e "$entry" ]; then
      : > "/var/$entry"
      mount --no-canonicalize --bind "$entry" "/var/$entry"
    fi
  done
  mkdir -p /var/task /var/runtime
}

if [ ! -d /var/task ] || [ ! -d /var/runtime ]; then
  overlay || rebuild
fi
mount --bind -o ro "$opt" /opt
mount --bind -o ro "$task" /var/task
mount --bind -o ro "$runtime" /var/runtime
cd /var/task
unset OLDPWD
exec "$@"

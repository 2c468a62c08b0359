#!/usr/bin/env bash
# mount.sh OPT TASK RUNTIME STAGE TMP LANG KEPT COMMAND...
# Runs inside a private mount namespace. Binds the first three folders read-only where Lambda has them, LANG to /var/lang
# (none when empty) and TMP over /tmp (none when empty), with those of KEPT, separated by colons, that are below /tmp put
# back into it. Where /var lacks the mount points nothing is made on the host: /var becomes an overlay of itself that has
# them (read-only but for /var/tmp), or, where overlays are not allowed, a small tmpfs with everything that was in it bound
# back. STAGE is an empty folder for that.
set -e
opt=$1 task=$2 runtime=$3 stage=$4 tmp=$5 lang=$6 kept=$7
shift 7

overlay() {
  mkdir "$stage/points" "$stage/points/task" "$stage/points/runtime" "$stage/points/lang" "$stage/tmp"
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
  mkdir -p /var/task /var/runtime /var/lang
}

if [ ! -d /var/task ] || [ ! -d /var/runtime ] || [ ! -d /var/lang ]; then
  overlay || rebuild
fi
mount --bind -o ro "$opt" /opt
mount --bind -o ro "$task" /var/task
mount --bind -o ro "$runtime" /var/runtime
[ -z "$lang" ] || mount --bind "$lang" /var/lang
if [ -n "$tmp" ]; then
  # put back inside of TMP first: binding TMP with what is mounted in it needs no path that it hides
  while IFS= read -r -d : folder; do
    if [ -d "$folder" ] && [ "${folder#/tmp/}" != "$folder" ]; then
      mkdir -p "$tmp/${folder#/tmp/}"
      mount --rbind "$folder" "$tmp/${folder#/tmp/}"
    fi
  done <<< "$kept:"
  mount --rbind "$tmp" /tmp
fi
cd /var/task
unset OLDPWD
exec "$@"

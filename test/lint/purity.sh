#!/usr/bin/env bash
# Only files named *_io.c may read a clock, a random source, a file or a socket. Asked of the
# compiled objects, so that no macro or inline function hides a call.
. "$(dirname "$0")/lib.sh"
nm=$1
objects=$2

clock='clock|clock_gettime|clock_getres|gettimeofday|time|ftime|timespec_get'
clock+='|nanosleep|clock_nanosleep|usleep|sleep|uv_now|uv_hrtime|uv_update_time'
random='rand|rand_r|random|srand|srandom|drand48|getrandom|getentropy|arc4random'
random+='|arc4random_buf|arc4random_uniform|randombytes|randombytes_buf|randombytes_random'
random+='|randombytes_uniform|crypto_[a-z0-9_]*_keypair|crypto_[a-z0-9_]*_keygen|crypto_box_seal'
random+='|wc_RNG_GenerateBlock|wc_InitRng'
files='open|openat|open64|fopen|fopen64|read|write|pread|pwrite|stat|fstat|access|unlink|rename'
files+='|fread|fwrite|fputs|fputc|puts|putchar|printf|fprintf|vfprintf|perror|getenv|system'
sockets='socket|bind|connect|listen|accept|accept4|send|sendto|sendmsg|sendmmsg|recv|recvfrom'
sockets+='|recvmsg|recvmmsg|setsockopt|getsockopt|getsockname|ioctl|fcntl|fcntl64|poll|ppoll'
sockets+='|select|epoll_[a-z_]*|getaddrinfo|getifaddrs|if_nametoindex'
loop='uv_[a-z_]*|pthread_create'
# Our own shells: a pure file that calls these reads the clock by another's hand.
shells='km_clock_now|km_clock_wall'
impure="^($clock|$random|$files|$sockets|$loop|$shells)\$"

# The exceptions, each with its reason.
excepted() { # $1: object, $2: symbol
  case ${1##*/}:$2 in
    *:crypto_sign_ed25519_seed_keypair | *:crypto_sign_seed_keypair) ;; # computes, draws nothing
    secret_key.c.o:randombytes_buf) ;; # a new key comes from the system's generator, never from km_env
    log.c.o:km_clock_wall) ;;          # an entry carries the time it was written
    *) false ;;
  esac
}

seen=0
while IFS= read -r object; do
  [ -n "$object" ] || continue
  seen=$((seen + 1))
  [ -r "$object" ] || finding "$object: was not built"
  case $object in
    *_io.c.o) continue ;;
  esac
  while IFS= read -r symbol; do
    # glibc's checked variants are the same calls: __read_chk is read.
    plain=${symbol#__}
    plain=${plain%_chk}
    [[ $plain =~ $impure ]] && ! excepted "$object" "$symbol" &&
      finding "${object##*.dir/}: calls $symbol"
  done < <("$nm" -u "$object" | awk '{ print $NF }' | sed 's/@.*//')
done < "$objects"
[ "$seen" -gt 0 ] || finding "no objects in $objects: nothing was checked"
finish

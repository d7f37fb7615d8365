# The blocking wrapper; relative to this folder, for its CMakeLists.txt.
set(KM_BLOCKING_SOURCES
  blocking.c
  blocking_accept.c
  blocking_conn.c
  blocking_datagram.c
  blocking_online.c
  blocking_open.c
  blocking_rx.c
  blocking_stream.c
  blocking_thread_io.c
  blocking_wait_io.c
  blocking_work.c
)

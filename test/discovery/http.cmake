# The discovery server's HTTP side: its pure parts, and the whole of it put together. What it does on
# sockets is in test/cmd/km_dns_test.py.
foreach(name doh http_date dns_metrics server)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c)
  target_link_libraries(discovery_${name}_test PRIVATE km_dns_server km_dep::cares)
endforeach()
km_add_fuzzer(fuzz_doh fuzz_doh.c CORPUS corpus/doh)
target_link_libraries(fuzz_doh PRIVATE km_dns_server km_dep::cjson)

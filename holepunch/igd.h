/* What UPnP's Internet Gateway Device says and hears, as text: searches (SSDP), HTTP and SOAP, as
 * far as mapping a port needs them. Pure; whatever came from the network is hostile. */
#ifndef KM_HOLEPUNCH_IGD_H
#define KM_HOLEPUNCH_IGD_H

#include <keymesh/addr.h>

#define KM_IGD_URL_CAP 256
#define KM_IGD_SERVICE_CAP 96
#define KM_IGD_REQUEST_CAP 2048
#define KM_IGD_MAX_HTTP 65536 /* of an answer */
#define KM_IGD_KINDS 3        /* of devices and services that are searched for */

/* The question to the network, for each kind below KM_IGD_KINDS. Returns its length. */
size_t km_igd_search(char ret[KM_IGD_REQUEST_CAP], unsigned kind);
/* The LOCATION of an answer. False: it is none, or says none that fits. */
bool km_igd_location(char ret[KM_IGD_URL_CAP], const char *answer, size_t len);

typedef struct km_igd_url {
  km_udp_addr host;
  char path[KM_IGD_URL_CAP];
} km_igd_url;

/* Of an address that may be called (km_gateway_url_allowed), and of nothing but visible ASCII. */
bool km_igd_url_read(km_igd_url *ret, const char *url);
/* "urn:schemas-upnp-org:service:WAN...", in what is to be put into a header. */
bool km_igd_service_is_good(const char *service);

/* Both return the length; 0: it does not fit. `arguments` is the XML of an action's arguments. */
size_t km_igd_get(char ret[KM_IGD_REQUEST_CAP], const km_igd_url *url);
size_t km_igd_call(char ret[KM_IGD_REQUEST_CAP], const km_igd_url *url, const char *service,
                   const char *action, const char *arguments);

typedef struct km_igd_http {
  int status;
  char *body; /* within the answer */
  size_t len;
} km_igd_http;

/* All that its headers promise is there; one that promises nothing ends with its connection. */
bool km_igd_http_is_whole(const char *answer, size_t len);
/* Undoes chunks in place. False: this is no answer of HTTP. */
bool km_igd_http_read(km_igd_http *ret, char *answer, size_t len);

#endif /* KM_HOLEPUNCH_IGD_H */

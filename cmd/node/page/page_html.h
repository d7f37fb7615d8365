/* page.html and login.html as the build found them. */
#ifndef KM_CMD_NODE_PAGE_PAGE_HTML_H
#define KM_CMD_NODE_PAGE_PAGE_HTML_H

extern const char page_html[], login_html[]; /* NUL-terminated */

#endif /* KM_CMD_NODE_PAGE_PAGE_HTML_H */

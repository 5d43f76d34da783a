"""Answers every request with a page that has the headers which testssl.sh asks of pages. Prints `listening PORT`."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"<p>hello</p>"
        self.send_response(200)
        for name, value in {
            "Content-Type": "text/html",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'none'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Strict-Transport-Security": "max-age=31536000",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
print("listening", server.server_port, flush=True)
server.serve_forever()

"""gRPC as its own library speaks it: a service, and a client that makes every kind of call and prints what came back.

main.py serve [CERT KEY CLIENT_CA]    prints `listening PORT`
main.py call TARGET TOKEN [CA]        prints JSON
Messages are plain bytes, so no generated code is needed.
"""

import json
import sys
import threading
from concurrent import futures

import grpc

CANCELLED = threading.Event()


def unary(request, context):
    seen = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-trail", "end"), ("x-menshen-error", "forged")))
    return json.dumps({"said": request.decode(), "state": seen.get("x-auth-state"), "user": seen.get("x-user-id")}).encode()


def down(request, context):
    for n in range(int(request)):
        yield b"%d" % n + b"x" * 20000


def up(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, context):
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def forever(request, context):
    context.add_callback(CANCELLED.set)
    yield b"first"
    CANCELLED.wait(20)


def was_cancelled(request, context):
    return b"yes" if CANCELLED.wait(10) else b"no"


class Service(grpc.GenericRpcHandler):
    METHODS = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Closed": grpc.unary_unary_rpc_method_handler(unary),
        "Denied": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Forever": grpc.unary_stream_rpc_method_handler(forever),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }

    def service(self, details):
        return self.METHODS.get(details.method.removeprefix("/test.Echo/"))


def content(path):
    with open(path, "rb") as file:
        return file.read()


def serve(files):
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=(Service(),))
    if files:
        cert, key, authority = map(content, files)
        credentials = grpc.ssl_server_credentials([(key, cert)], root_certificates=authority, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("listening", port, flush=True)
    server.wait_for_termination()


def call(target, token, authority=None):
    if authority:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(content(authority)))
    else:
        channel = grpc.insecure_channel(target)
    path = "/test.Echo/{}".format
    bearer = (("authorization", "Bearer " + token), ("x-user-id", "forged"))

    def refused(method, metadata=()):
        try:
            channel.unary_unary(path(method))(b"", metadata=metadata, timeout=20)
        except grpc.RpcError as fault:
            return {"code": fault.code().name, "details": fault.details()}
        return None

    result = {}
    said, ended = channel.unary_unary(path("Unary")).with_call(b"hello", metadata=bearer, timeout=20)
    result["unary"] = json.loads(said)
    result["trailers"] = sorted(ended.trailing_metadata())
    result["down"] = [len(part) for part in channel.unary_stream(path("Down"))(b"50", timeout=20)]
    result["up"] = channel.stream_unary(path("Up"))(iter([b"x" * 30000] * 100), timeout=20).decode()

    # One message at a time: each is sent only when the answer to the one before has come.
    answered = threading.Semaphore(1)

    def questions():
        for n in range(5):
            answered.acquire(timeout=10)
            yield b"%d" % n

    result["both"] = []
    for answer in channel.stream_stream(path("Both"))(questions(), timeout=20):
        result["both"].append(answer.decode())
        answered.release()

    result["fail"] = refused("Fail")
    result["closed"] = refused("Closed")
    result["closed_with_token"] = refused("Closed", bearer)
    result["denied"] = refused("Denied", bearer)
    stream = channel.unary_stream(path("Forever"))(b"", timeout=20)
    next(stream)
    stream.cancel()
    result["cancelled"] = channel.unary_unary(path("WasCancelled"))(b"", timeout=20).decode()
    print(json.dumps(result))


if sys.argv[1] == "serve":
    serve(sys.argv[2:])
else:
    call(*sys.argv[2:])

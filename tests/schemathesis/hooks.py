"""What schemathesis has to be told about menshen's auth API: how to sign in, one request of each operation that succeeds, and which
refusals and acceptances are no fault although the document cannot say so.

`tests/it/contract.rs` starts a menshen of development for it (a code of `wx.login` is its own openid, a code of the phone number
button its own number) and reads from the file SUCCESSES how often each operation has succeeded.

Must stay true: a failure is dropped for a reason that stands here by name, and never one about the form of an answer, about a status
that the document does not have, or about a fault of the server.
"""

import collections
import hashlib
import itertools
import json
import os
import time
import unicodedata

import jsonschema_rs
import requests
import schemathesis
from schemathesis.auths import AuthContext, set_on_case
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

BASE = os.environ["MENSHEN"]
SUCCESSES = os.environ["SUCCESSES"]
APP_ID = os.environ["APP_ID"]
PUSH_TOKEN = os.environ["PUSH_TOKEN"]
ADMIN = {"username": "root", "password": os.environ["PASSWORD"]}
# Each of these phones gets one code, which the config fixes.
LOGIN_PHONE, BIND_PHONE, CODE = "13800138001", "13800138002", "246810"

http = requests.Session()
people = itertools.count(1)
# Whose session it is, of sessions that wait to be ended by another one.
tokens_of = {}
successes = collections.Counter()


def operation_id(operation):
    return operation.definition.raw["operationId"]


def post(path, body, token=None):
    answer = http.post(BASE + path, json=body, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=10)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def sign_in(code=None):
    """An access token of somebody new, or of whose code it is."""
    return post("/auth/wechat/login", {"code": code or f"person{next(people)}"})["access_token"]


def new_phone():
    return f"139{next(people):08}"


def with_phone():
    token = sign_in()
    post("/auth/phone/wechat", {"code": new_phone()}, token)
    return token


def other_session():
    """The id of a session, which another one of the same user may end."""
    code = f"person{next(people)}"
    sign_in(code)
    token = sign_in(code)
    sessions = http.get(f"{BASE}/auth/sessions", headers={"Authorization": f"Bearer {token}"}, timeout=10).json()["sessions"]
    other = next(session["id"] for session in sessions if not session["current"])
    tokens_of[other] = token
    return other


def sent(phone, purpose):
    post("/auth/sms/send", {"phone": phone, "purpose": purpose})
    return {"phone": phone, "code": CODE}


def push():
    parts = {"timestamp": str(int(time.time())), "nonce": "nonce1"}
    signature = hashlib.sha1("".join(sorted([PUSH_TOKEN, *parts.values()])).encode()).hexdigest()
    return {"signature": signature, **parts}


# A request of each operation that succeeds: with a user, a session and a code that exist.
GOOD = {
    "wechat_login": lambda: {"body": {"code": "alice", "nickname": "小明", "client_type": "miniprogram"}},
    "password_login": lambda: {"body": ADMIN},
    "sms_send": lambda: {"body": {"phone": new_phone(), "purpose": "login"}},
    "sms_login": lambda: {"body": sent(LOGIN_PHONE, "login")},
    "phone_sms": lambda: {"body": sent(BIND_PHONE, "bind")},
    "phone_wechat": lambda: {"body": {"code": new_phone()}},
    "unbind_phone": dict,
    "refresh": lambda: {"body": {"refresh_token": post("/auth/wechat/login", {"code": "bob"})["refresh_token"]}},
    "logout": dict,
    "me": dict,
    "change_me": lambda: {"body": {"nickname": "小红", "birthday": "2000-02-29", "bio": None}},
    "change_me_by_post": lambda: {"body": {"nickname": "小红"}},
    "erase_me": dict,
    "export_me": dict,
    "sessions": dict,
    "end_session": lambda: {"path_parameters": {"sid": other_session()}},
    "wechat_push_check": lambda: {"query": {**push(), "echostr": "echo"}},
    "wechat_push": lambda: {"query": push(), "body": f"<xml><AppID>{APP_ID}</AppID><MsgType>text</MsgType></xml>"},
    "jwks": dict,
    "openapi": dict,
}


@schemathesis.auth(refresh_interval=None)
class Somebody:
    """Requests that only look share a session; the others have one each, which some of them end, and a user, whom some erase."""

    looking = None

    def get(self, case, context):
        operation = operation_id(context.operation)
        if "security" not in context.operation.definition.raw:
            return None
        if operation == "unbind_phone":
            return with_phone()
        if operation in ("me", "export_me", "sessions", "change_me", "change_me_by_post"):
            self.looking = self.looking or sign_in()
            return self.looking
        return tokens_of.get((case.path_parameters or {}).get("sid")) or sign_in()

    def set(self, case, token, context):
        if token:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}


@schemathesis.hook
def before_add_examples(context, examples):
    operation = context.operation
    parts = GOOD[operation_id(operation)]()
    if "body" in parts:
        parts["media_type"] = next(iter(operation.definition.raw["requestBody"]["content"]))
    example = operation.Case(**parts)
    # As it is done for what is generated.
    set_on_case(example, AuthContext(operation=operation, app=None), None)
    examples.append(example)


@schemathesis.hook
def before_call(context, case, kwargs):
    # A document cannot say which mini programs a server has.
    is_good = case.meta is not None and case.meta.generation.mode.is_positive
    if is_good and operation_id(case.operation) == "wechat_login" and case.body.get("app_id"):
        case.body = {**case.body, "app_id": APP_ID}


@schemathesis.hook
def after_call(context, case, response):
    if 200 <= response.status_code < 300:
        successes[operation_id(case.operation)] += 1
        with open(SUCCESSES, "w") as file:
            json.dump(successes, file)


# A document says what a code looks like, not which codes there are: what is refused so has the right form, and nobody sent it.
NO_SUCH_CODE = {"code_invalid", "phone_code_invalid", "phone_decrypt_failed"}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, RejectedPositiveData):
        return response.json()["code"] not in NO_SUCH_CODE
    if isinstance(failure, AcceptedNegativeData):
        return not is_forgiven(case)
    return True


def is_forgiven(case):
    """Whether a body has the form of the document but for what the API forgives on purpose: everything else in it is as it must be."""
    if not isinstance(case.body, dict):
        return False
    body = dict(case.body)
    if operation_id(case.operation) == "wechat_login":
        # Left out where they are not fit to be kept: nobody is kept from signing in by a nickname.
        body.pop("nickname", None)
        body.pop("avatar_url", None)
    digits = ["sms_code"] if operation_id(case.operation) in ("wechat_login", "phone_wechat") else ["phone", "code", "sms_code"]
    body.update({name: plain(body[name]) for name in digits if isinstance(body.get(name), str)})
    document = case.operation.schema.raw_schema
    content = case.operation.definition.raw["requestBody"]["content"]["application/json"]
    return jsonschema_rs.is_valid({**content["schema"], "components": document["components"]}, body)


def plain(text):
    """A number without what people write between and before its digits, or paste with them."""
    signs = unicodedata.normalize("NFKC", text)
    digits = "".join(sign for sign in signs if sign not in "()." and unicodedata.category(sign) not in ("Zs", "Cf", "Pd"))
    for country in ("+86", "0086"):
        digits = digits.removeprefix(country)
    return digits[2:] if len(digits) == 13 and digits.startswith("86") else digits

"""What arrived, for setting up: `SHOW_HEADERS=1`. Callers see only their own request."""

from django.contrib.auth.decorators import login_not_required
from django.http import JsonResponse


@login_not_required
def headers(request):
    meta = {name: value for name, value in request.META.items() if name.startswith("HTTP_")}
    scope = getattr(request, "scope", {}).get("headers", [])  # under ASGI: as the server read them
    raw = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope]
    return JsonResponse({"meta": meta, "raw": raw})

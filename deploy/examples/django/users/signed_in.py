"""Views that are not Django REST framework's need a user too. Django has this from 5.1 on."""

from django.contrib.auth.middleware import LoginRequiredMiddleware

from .menshen import refusal


class SignedInMiddleware(LoginRequiredMiddleware):
    """Every view needs a user unless it is marked `@login_not_required`; nobody is sent to a login page."""

    def handle_no_permission(self, request, view_func):
        return refusal()

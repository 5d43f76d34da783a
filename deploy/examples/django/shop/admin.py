"""Django's admin site without its login: an administrator is whoever menshen says is one."""

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied


class BackOfficeConfig(AdminConfig):
    default_site = "shop.admin.BackOffice"


class BackOffice(AdminSite):
    def has_permission(self, request):
        if not super().has_permission(request):
            raise PermissionDenied
        return True

    def login(self, request, extra_context=None):
        raise PermissionDenied  # no form, and no guessing of passwords of before

from django.contrib import admin

from .models import User


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    """No passwords, and no boxes that would make somebody an administrator: that is menshen's to say."""

    fields = ["username", "bio", "is_active"]
    readonly_fields = ["username"]
    list_display = ["id", "username", "is_active", "date_joined"]

    def has_add_permission(self, request):
        return False  # rows are made on first sight

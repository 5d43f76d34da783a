from django.contrib import admin

from .models import Order

admin.site.register(Order, list_display=["id", "item", "owner", "created_at"])

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.http import JsonResponse
from django.urls import path

from orders.views import OrderCount, OrderDetail, OrderList
from shop.debug import headers
from users.views import AllUsers, Me


@login_not_required
def health(request):
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("api/users/me/", Me.as_view()),
    path("api/orders/", OrderList.as_view()),
    path("api/orders/count/", OrderCount.as_view()),
    path("api/orders/<int:pk>/", OrderDetail.as_view()),
    path("api/admin/users/", AllUsers.as_view()),
    path("admin/", admin.site.urls),
    path("health", health),
]

if settings.SHOW_HEADERS:
    urlpatterns.append(path("debug/headers", headers))

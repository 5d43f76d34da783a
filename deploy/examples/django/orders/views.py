from rest_framework import generics, serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Order


class OrderSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["id", "item", "owner", "created_at"]
        read_only_fields = ["owner"]


class Own:
    """Orders are their owner's alone; one of somebody else is not there."""

    serializer_class = OrderSerializer

    def get_queryset(self):
        return Order.objects.filter(owner=self.request.user).order_by("-id")


class OrderList(Own, generics.ListCreateAPIView):
    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)  # the caller, whatever the body says


class OrderDetail(Own, generics.RetrieveDestroyAPIView):
    pass


class OrderCount(APIView):
    """For everybody; whoever is signed in has a number of their own."""

    permission_classes = [AllowAny]

    def get(self, request):
        mine = Order.objects.filter(owner=request.user).count() if request.user.is_authenticated else None
        return Response({"all": Order.objects.count(), "mine": mine})

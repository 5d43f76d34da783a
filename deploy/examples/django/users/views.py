from django.db.models import Count
from rest_framework import generics, serializers
from rest_framework.permissions import IsAdminUser

from .models import User


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username", "bio", "is_staff", "date_joined"]
        read_only_fields = ["username", "is_staff", "date_joined"]


class Me(generics.RetrieveUpdateAPIView):
    serializer_class = UserSerializer

    def get_object(self):
        return self.request.user

    def perform_update(self, serializer):
        user = self.request.user
        user.bio = serializer.validated_data.get("bio", user.bio)
        user.save(update_fields=["bio"])  # and not `is_staff`, which is of this request


class CustomerSerializer(UserSerializer):
    order_count = serializers.IntegerField()

    class Meta(UserSerializer.Meta):
        fields = ["id", "username", "date_joined", "order_count"]


class AllUsers(generics.ListAPIView):
    """The back office. menshen's config has a rule for this path as well; two walls are better than one."""

    permission_classes = [IsAdminUser]
    serializer_class = CustomerSerializer
    queryset = User.objects.annotate(order_count=Count("orders")).order_by("id")

"""A page of the host's own API, and its handler of errors."""

from django.http import JsonResponse
from rest_framework.response import Response
from rest_framework.views import APIView


def handler(problem, context):
    return JsonResponse({"host": type(problem).__name__}, status=418)


class Own(APIView):
    def get(self, request):
        return Response({"mine": True})

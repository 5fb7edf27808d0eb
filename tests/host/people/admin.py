from django.contrib import admin

from people.models import Note, Person

admin.site.register([Person, Note])

"""What the host's project expects of the apps that it includes. tests/package/test_host.py runs this in the project."""

import io
import json
from contextlib import redirect_stdout
from uuid import uuid4

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.test import Client, TestCase

from luna.records import Profile
from luna.stores import SqlLunaPreferencesStore
from orbsite.models.api_tokens import Token, issue
from orbsite.models.audit_log import Event
from orbsite.persistence import create_default_te_store, get_data_directory, migrate_all_file_to_sql
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import StoreUnavailable
from people.models import Note, Person
from te.records import Reflection
from te.stores import FileTeReflectionStore

NOW = utc_now().replace(microsecond=0)
REFLECTIONS = "/memory/api/v1/users/ana/reflections"


def reflection(name, **fields):
    return Reflection(id=name, input="in", output="out", tags=(), created_at=NOW, **fields)


class Host(TestCase):
    databases = ("default", "archive")

    def setUp(self):
        token = Token(name="t", scopes=["read", "write", "operate"], users=[], every_user=True)
        self.headers = {"Authorization": f"Bearer {issue(token, utc_now())}"}

    def ask(self, method, path, body=None):
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(self.client, method)(path, headers=self.headers, **data)

    def test_the_project_keeps_its_own_settings(self):
        self.assertEqual(settings.ORB_PERSISTENCE, "sql")
        self.assertEqual(get_data_directory(), settings.BASE_DIR / ".orb-data")
        self.assertEqual(settings.ORB_API_MAX_ITEMS, 3)
        self.assertEqual(type(Note._meta.pk).__name__, "AutoField")

    def test_no_migration_is_missing_and_ours_have_their_own_keys(self):
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)
        for name in ("orbsite", "luna", "te"):
            kinds = {type(one._meta.pk).__name__ for one in apps.get_app_config(name).get_models()}
            self.assertLessEqual(kinds, {"BigAutoField", "KeyField", "CharField", "OneToOneField"})

    def test_the_interface_saves_in_the_database_of_the_project(self):
        create_default_te_store().save_reflection(reflection("r"), "ana")
        self.assertEqual([one.id for one in create_default_te_store().get_reflections("ana")], ["r"])
        self.assertEqual(apps.get_model("te", "ReflectionRow").objects.using("default").count(), 1)

    def test_a_store_over_the_second_database(self):
        luna = SqlLunaPreferencesStore(using="archive")
        profile = luna.get_or_create_profile("ana", "mars")
        self.assertIsInstance(profile, Profile)
        self.assertEqual(apps.get_model("luna", "ProfileRow").objects.using("archive").count(), 1)
        self.assertEqual(apps.get_model("luna", "ProfileRow").objects.using("default").count(), 0)
        with self.assertRaisesRegex(StoreUnavailable, "DATABASES has no 'other'; it has 'default', 'archive'"):
            SqlLunaPreferencesStore(using="other")

    def test_the_api_is_there_under_the_address_of_the_project(self):
        created = self.ask("post", REFLECTIONS, {"id": "r 1", "input": "in", "output": "out"})
        self.assertEqual(created.status_code, 201, created.content)
        self.assertTrue(created["Location"].startswith(f"{REFLECTIONS}/~"))
        found = self.ask("get", created["Location"])
        self.assertEqual((found.json()["input"], found["ETag"]), ("in", created["ETag"]))
        self.assertEqual(found["Cache-Control"], "no-store")
        for number in range(2):
            self.ask("post", REFLECTIONS, {"id": f"r{number}", "input": "in", "output": "out"})
        page = self.ask("get", f"{REFLECTIONS}?limit=2").json()
        self.assertTrue(page["next"].startswith("/memory/api/v1/users/ana/reflections?"))
        self.assertEqual(len(self.ask("get", page["next"]).json()["items"]), 1)

    def test_errors_of_the_api_are_problems_with_an_id(self):
        refused = self.client.get(REFLECTIONS)
        self.assertEqual((refused.status_code, refused["Content-Type"]), (401, "application/problem+json"))
        self.assertRegex(refused.json()["instance"], r"^urn:uuid:[0-9a-f-]{36}$")
        many = self.ask("post", REFLECTIONS, {"input": "in", "output": "out", "tags": ["a", "b", "c", "d"]})
        self.assertIn("ORB_API_MAX_ITEMS", many.json()["errors"][0]["message"])
        self.assertEqual(self.ask("get", f"{REFLECTIONS}?format=api").status_code, 400)

    def test_a_job_has_an_address_of_the_project(self):
        settings.ORB_DATA_DIR.mkdir(mode=0o700, exist_ok=True)
        started = self.ask("post", "/memory/api/v1/operations/check", {})
        self.assertEqual(started.status_code, 202, started.content)
        self.assertEqual(self.ask("get", started["Location"]).json()["id"], started.json()["id"])

    def test_the_api_of_the_project_keeps_its_settings(self):
        refused = self.client.get("/own")
        self.assertEqual((refused.status_code, refused.json()), (418, {"host": "NotAuthenticated"}))

    def test_the_document_of_the_api_is_for_staff(self):
        self.assertEqual(self.client.get("/memory/api/schema").status_code, 403)
        self.sign_in()
        document = self.client.get("/memory/api/schema").json()
        self.assertEqual(document["info"]["title"], "Orb persistence")
        self.assertIn("/api/v1/users/{user}/reflections", document["paths"])
        self.assertNotIn("/own", document["paths"])

    def test_the_commands_run(self):
        FileTeReflectionStore(settings.BASE_DIR / "files").save_reflection(reflection("f"), "ana")
        told = io.StringIO()
        call_command("migrate_orb_files", data_dir=settings.BASE_DIR / "files", format="json", stdout=told)
        self.assertEqual(json.loads(told.getvalue())["domains"]["te"]["new"], 1)
        result = migrate_all_file_to_sql(settings.BASE_DIR / "files", backup=False)
        self.assertTrue(result.success)
        for name in ("orb_stats", "verify_orb_files", "run_orb_maintenance"):
            with redirect_stdout(io.StringIO()):
                options = {"data_dir": settings.BASE_DIR / "files"} if name == "verify_orb_files" else {}
                call_command(name, stdout=io.StringIO(), **options)
        call_command("erase_orb_user", user="ana", apply=True, stdout=io.StringIO())
        self.assertEqual(create_default_te_store().get_reflections("ana"), [])

    def sign_in(self):
        person = Person.objects.create_superuser("root@example.org", "a-password")
        self.client = Client()
        self.client.post("/administration/login/", {"username": person.email, "password": "a-password"})
        return person

    def test_the_admin_shows_the_pages_of_the_project(self):
        self.sign_in()
        self.assertContains(self.client.get("/administration/people/note/"), "Note")
        self.assertContains(self.client.get("/administration/people/person/"), "root@example.org")

    def test_our_pages_are_in_our_admin_alone(self):
        create_default_te_store().save_reflection(reflection("shown-here"), "ana")
        self.sign_in()
        page = self.client.get("/administration/te/reflectionrow/")
        if not settings.HAS_OUR_ADMIN:
            self.assertEqual(page.status_code, 404)
            self.assertFalse(admin.site.is_registered(apps.get_model("te", "ReflectionRow")))
            return
        self.assertContains(page, "shown-here")
        self.assertContains(self.client.get("/administration/"), "Dashboard")
        self.assertContains(self.client.get("/administration/console/operations/"), "Migrate")

    def test_our_admin_notes_a_new_user_in_the_audit_log(self):
        self.sign_in()
        new = {"id": str(uuid4()), "email": "new@example.org", "password": "x"}
        self.assertEqual(self.client.post("/administration/people/person/add/", new).status_code, 302)
        self.assertTrue(Person.objects.filter(email="new@example.org").exists())
        self.assertEqual(Event.objects.filter(act="person made").exists(), settings.HAS_OUR_ADMIN)

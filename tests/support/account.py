"""An AWS account of a test: moto's server behind a front, with functions and layers in it."""

import io
import json
import zipfile

import boto3

REGION = "eu-west-1"
CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


def zipped(**files):
    """A zip of files: names with __ for /, and their text."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return made.getvalue()


def zip_of(names):
    """A zip of a dict of path to text."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in names.items():
            archive.writestr(name, text)
    return made.getvalue()


RECORDER_ZIP = zip_of({"python/coldspan/boot/start.py": "", "python/coldspan.pth": "import coldspan.boot.start"})


class TestAccount:
    """What a test puts into the account, and reads from it, by boto3."""

    __test__ = False

    def __init__(self, front):
        self.front = front
        self.lambda_ = boto3.client("lambda", region_name=REGION, endpoint_url=front.url, **CREDENTIALS)
        iam = boto3.client("iam", region_name=REGION, endpoint_url=front.url, **CREDENTIALS)
        trust = {"Version": "2012-10-17", "Statement": []}
        self.role = iam.create_role(RoleName="fn", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]

    def layer(self, name="coldspan-recorder", content=RECORDER_ZIP, **options):
        """Publish a layer version; its ARN."""
        answer = self.lambda_.publish_layer_version(LayerName=name, Content={"ZipFile": content}, **options)
        return answer["LayerVersionArn"]

    def function(self, name="orders", **options):
        """Make a function; its name."""
        code = options.pop("Code", None) or {"ZipFile": zip_of({"app.py": "def handler(event, context): return 1"})}
        options = {"Runtime": "python3.13", "Handler": "app.handler", "Role": self.role, **options}
        options = {key: value for key, value in options.items() if value is not None}
        self.lambda_.create_function(FunctionName=name, Code=code, **options)
        return name

    def layers(self, name="orders"):
        """A function's layers, in order."""
        return [each["Arn"] for each in self.lambda_.get_function_configuration(FunctionName=name).get("Layers", ())]

    def tags(self, name="orders"):
        """A function's tags."""
        return self.lambda_.get_function(FunctionName=name).get("Tags", {})

    def tag(self, name="orders", **tags):
        """Tag it."""
        arn = self.lambda_.get_function_configuration(FunctionName=name)["FunctionArn"]
        self.lambda_.tag_resource(Resource=arn, Tags=tags)
